"""Common Access Tokens by the package cwt: an order has the algorithm, the claims by number, the key in PEM or hexadecimal,
and its `kid`."""

import base64

from cwt import COSEKey, encode

from orders import answer


def sign(order):
    kid = order["kid"]
    if "pem" in order:
        key = COSEKey.from_pem(order["pem"], kid=kid, alg=order["alg"])
    else:
        key = COSEKey.from_symmetric_key(bytes.fromhex(order["key"]), alg=order["alg"], kid=kid)
    token = encode(with_numbers(order["claims"]), key, tagged=order.get("tagged", False))
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def with_numbers(value):
    """JSON has no numbers for names."""
    if isinstance(value, dict):
        return {int(name): with_numbers(inner) for name, inner in value.items()}
    return value


answer(sign)
