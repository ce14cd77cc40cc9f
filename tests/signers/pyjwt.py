"""JSON Web Tokens by the package PyJWT: an order has the header, the claims, and a private key in PEM or a secret."""

import jwt

from orders import answer


def sign(order):
    key = order.get("pem") or order["secret"]
    return jwt.encode(order["claims"], key, algorithm=order["header"]["alg"], headers=order["header"])


answer(sign)
