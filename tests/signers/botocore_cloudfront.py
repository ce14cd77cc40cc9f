"""CloudFront's signed URLs by the package botocore: an order has the key's name and PEM, the URL, and the end, or what the
custom policy says."""

from datetime import datetime, timezone

from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from orders import answer


def moment(seconds):
    return seconds and datetime.fromtimestamp(seconds, timezone.utc)


def sign(order):
    key = serialization.load_pem_private_key(order["pem"].encode(), password=None)
    signer = CloudFrontSigner(
        order["key_id"], lambda text: key.sign(text, padding.PKCS1v15(), hashes.SHA1())
    )
    end = moment(order["end"])
    if "resource" not in order:
        return signer.generate_presigned_url(order["url"], date_less_than=end)
    start, network = moment(order.get("start")), order.get("network")
    policy = signer.build_policy(order["resource"], end, start, network)
    return signer.generate_presigned_url(order["url"], policy=policy)


answer(sign)
