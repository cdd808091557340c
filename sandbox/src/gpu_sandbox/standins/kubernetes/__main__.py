"""The process the engine starts as `pulumi-resource-kubernetes ENGINE_ADDRESS`."""

import argparse

from pulumi.runtime.proto import provider_pb2_grpc

from gpu_sandbox.standins.kubernetes.provider import KubernetesProvider
from gpu_sandbox.standins.plugin_server import new_server, serve_until_signalled

# Each resource being waited for holds a thread, and Cancel must still find one.
_WORKERS = 256


def main() -> None:
    """Serve until the engine ends the process; flags of the official provider that have no use here are ignored."""
    parser = argparse.ArgumentParser(prog="pulumi-resource-kubernetes")
    parser.add_argument("--plugin-version", default="", help="the version to report: the one the engine asked for")
    parser.add_argument("engine", nargs="?", default="", help="gRPC address of the engine")
    arguments, _ = parser.parse_known_args()
    provider = KubernetesProvider(arguments.engine, arguments.plugin_version)
    server = new_server(workers=_WORKERS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    serve_until_signalled(server, before_exit=provider.cancel)


if __name__ == "__main__":
    main()
