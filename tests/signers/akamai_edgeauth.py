"""EdgeAuth tokens by the package akamai-edgeauth: an order has its options, and `acl` or `url`."""

from akamai.edgeauth import EdgeAuth

from orders import answer


def sign(order):
    signer = EdgeAuth(**order["options"])
    if "url" in order:
        return signer.generate_url_token(order["url"])
    return signer.generate_acl_token(order["acl"])


answer(sign)
