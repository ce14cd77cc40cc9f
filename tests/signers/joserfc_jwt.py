"""JSON Web Tokens by the package joserfc: an order has the header, the claims, and a private key in PEM or a secret. The
claims that `encrypted` names are put into a JWE first, with the key `encryption` in base64url."""

from joserfc import jwe, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from orders import answer

KINDS = {"HS": OctKey, "RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}


def sign(order):
    header, claims = order["header"], dict(order["claims"])
    key = KINDS[header["alg"][:2]].import_key(order.get("pem") or order["secret"])
    for name in order.get("encrypted", []):
        secret = OctKey.import_key({"kty": "oct", "k": order["encryption"]})
        protected = {"alg": "dir", "enc": "A128GCM"}
        claims[name] = jwe.encrypt_compact(protected, claims[name].encode(), secret)
    return jwt.encode(header, claims, key, algorithms=[header["alg"]])


answer(sign)
