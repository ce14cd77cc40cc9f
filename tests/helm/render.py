"""Installs the chart, by Helm itself, into a cluster that is made up: prints what Helm sends it.

    render.py CHART RELEASE KUBERNETES < VALUES      (VALUES as YAML, KUBERNETES such as 1.33)

Helm's own library (the package helm-sdkpy brings it) renders the templates, judges the values by the chart's schema and
posts every object to the cluster. That cluster is a small server on loopback: it knows the kinds of objects that a chart may
have, finds nothing, and takes everything. Each object is then judged by the JSON Schema of its kind (kubernetes-validate,
strict: no field that the kind does not have).

Standard output: {"objects": [...], "faults": ["Kind NAME: what is wrong"], "unjudged": ["Kind", ...], "error": null or text}
"""

import asyncio
import json
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import helm_sdkpy
import kubernetes_validate
import yaml

# Group and version, and its kinds: name in paths, kind.
KINDS = {
    "v1": [
        ("configmaps", "ConfigMap"),
        ("secrets", "Secret"),
        ("services", "Service"),
        ("serviceaccounts", "ServiceAccount"),
    ],
    "apps/v1": [("statefulsets", "StatefulSet")],
    "policy/v1": [("poddisruptionbudgets", "PodDisruptionBudget")],
    "autoscaling/v2": [("horizontalpodautoscalers", "HorizontalPodAutoscaler")],
    "monitoring.coreos.com/v1": [("servicemonitors", "ServiceMonitor"), ("prometheusrules", "PrometheusRule")],
}

# Kinds that Kubernetes itself does not have: no schema comes with it.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}


class Cluster(BaseHTTPRequestHandler):
    """Answers as the API server of an empty cluster."""

    objects = []
    kubernetes = "1.33"

    def log_message(self, *_):
        pass

    def say(self, status, body):
        self.say_bytes(status, "application/json", json.dumps(body).encode())

    def say_bytes(self, status, form, body):
        self.send_response(status)
        self.send_header("Content-Type", form)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0].rstrip("/")
        major, minor = self.kubernetes.split(".")
        if path == "/version":
            self.say(200, {"major": major, "minor": minor, "gitVersion": f"v{self.kubernetes}.0"})
        elif path == "/api":
            self.say(200, {"kind": "APIVersions", "versions": ["v1"]})
        elif path == "/apis":
            groups = []
            for name in KINDS:
                if "/" in name:
                    group, version = name.split("/")
                    told = {"groupVersion": name, "version": version}
                    groups.append({"name": group, "versions": [told], "preferredVersion": told})
            self.say(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        elif path.removeprefix("/apis/").removeprefix("/api/") in KINDS:
            name = path.removeprefix("/apis/").removeprefix("/api/")
            verbs = ["create", "get", "list", "patch", "update", "delete"]
            resources = [
                {"name": place, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
                for place, kind in KINDS[name]
            ]
            self.say(200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources})
        elif path.endswith("/secrets"):
            self.say(200, {"kind": "SecretList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []})
        else:
            self.say(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})

    def take(self):
        form, body = self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))
        # Helm's own record of the release, a secret, comes in the binary form: no part of the chart.
        if form == "application/json":
            self.objects.append(json.loads(body))
        self.say_bytes(201 if self.command == "POST" else 200, form, body)

    do_POST = do_PUT = do_PATCH = take


async def install(chart, release, values, kubeconfig):
    configuration = helm_sdkpy.Configuration(namespace="media", kubeconfig=kubeconfig)
    await helm_sdkpy.Install(configuration).run(release, chart, values=values, wait=False, timeout=60)


def main():
    chart, release, Cluster.kubernetes = sys.argv[1:]
    values = yaml.safe_load(sys.stdin) or {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    error = None
    with tempfile.NamedTemporaryFile("w", suffix=".json") as kubeconfig:
        cluster = {"server": f"http://127.0.0.1:{server.server_port}"}
        json.dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "made-up", "cluster": cluster}],
                "users": [{"name": "nobody", "user": {}}],
                "contexts": [{"name": "made-up", "context": {"cluster": "made-up", "user": "nobody"}}],
                "current-context": "made-up",
            },
            kubeconfig,
        )
        kubeconfig.flush()
        try:
            asyncio.run(install(chart, release, values, kubeconfig.name))
        except helm_sdkpy.HelmError as refused:
            error = str(refused)
    faults, unjudged = [], []
    for item in Cluster.objects:
        if item["kind"] in FOREIGN:
            unjudged.append(item["kind"])
            continue
        try:
            kubernetes_validate.validate(item, Cluster.kubernetes, strict=True)
        except kubernetes_validate.ValidationError as fault:
            faults.append(f"{item['kind']} {item['metadata']['name']}: {fault.message}")
    json.dump({"objects": Cluster.objects, "faults": faults, "unjudged": unjudged, "error": error}, sys.stdout)


if __name__ == "__main__":
    main()
