"""A stand-in for `pulumi-language-python`: runs Python programs, policy packs and plugins for the engine.

Owns what `pulumi preview`, `up`, `destroy`, `policy` and component plugins need. It generates no code (`package add`,
`convert`, SDKs) and installs nothing: those need Pulumi's own host.
"""
