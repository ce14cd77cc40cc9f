"""Requests for objects of a bucket, signed by the package botocore: an order has the method, host, bucket, name of the object,
region, key and time; what comes back is the target and the value of `Authorization`."""

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import percent_encode

from orders import answer


def sign(order):
    credentials = Credentials(order["id"], order["secret"], order.get("token"))
    target = percent_encode(f"/{order['bucket']}/{order['name']}", safe="/~")
    request = AWSRequest(method=order["method"], url=f"http://{order['host']}{target}", data=b"")
    request.context["timestamp"] = order["time"]
    auth = S3SigV4Auth(credentials, "s3", order["region"])
    auth._modify_request_before_signing(request)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    auth._inject_signature_to_request(request, auth.signature(text, request))
    return {"target": target, "authorization": request.headers["Authorization"]}


answer(sign)
