"""The process the engine starts as `pulumi-language-python ENGINE_ADDRESS`."""

import argparse

from pulumi.runtime.proto import language_pb2_grpc

from gpu_sandbox.standins.language_python.host import LanguageHost
from gpu_sandbox.standins.plugin_server import new_server, serve_until_signalled


def main() -> None:
    """Serve until the engine ends the process; flags of the official host that have no use here are ignored."""
    parser = argparse.ArgumentParser(prog="pulumi-language-python")
    parser.add_argument("engine", nargs="?", default="", help="gRPC address of the engine")
    arguments, _ = parser.parse_known_args()
    host = LanguageHost(engine_address=arguments.engine)
    server = new_server(workers=32)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    serve_until_signalled(server, before_exit=host.stop_children)


if __name__ == "__main__":
    main()
