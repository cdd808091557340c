"""The sandbox's certificates: three authorities, what they sign, and the kubeconfig files that carry client identities.

Each authority is trusted for one thing only: `ca` for the cluster, `etcd-ca` for etcd (a kubelet's certificate must not
open the database), `front-proxy-ca` for the API server speaking as a user. Private keys are readable by root alone.
The set is made once, in one step, and kept; a directory without all files is made anew.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gpu_sandbox.settings import CLUSTER_DOMAIN, KUBERNETES_SERVICE_IP, NODE_IP, NODE_NAME

CA = "ca"
ETCD_CA = "etcd-ca"
FRONT_PROXY_CA = "front-proxy-ca"
AUTHORITIES = (CA, ETCD_CA, FRONT_PROXY_CA)
SERVICE_ACCOUNT_KEY = "service-account"

# A sandbox is thrown away long before this; renewal would be code that nobody ever runs.
_VALID_DAYS = 3650


@dataclass(frozen=True)
class Certificate:
    """One certificate to be signed: who it names and what it may be used for."""

    name: str
    authority: str
    common_name: str
    organization: str = ""
    client: bool = True
    server_names: tuple[str, ...] = ()  # DNS names and addresses; a certificate with some may serve

    @property
    def key_file(self) -> str:
        return f"{self.name}.key"


CERTIFICATES = (
    Certificate(
        "apiserver",
        CA,
        "kube-apiserver",
        client=False,
        server_names=(
            "127.0.0.1",
            NODE_IP,
            KUBERNETES_SERVICE_IP,
            "localhost",
            NODE_NAME,
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
        ),
    ),
    Certificate("apiserver-etcd", ETCD_CA, "kube-apiserver"),
    Certificate("apiserver-kubelet", CA, "kube-apiserver-kubelet-client"),
    Certificate("front-proxy", FRONT_PROXY_CA, "front-proxy-client"),
    # Also a client: etcd's own gateway dials etcd with it.
    Certificate("etcd", ETCD_CA, "etcd", server_names=("127.0.0.1", "localhost")),
    Certificate("kubelet", CA, NODE_NAME, client=False, server_names=(NODE_NAME, NODE_IP)),
    # Serving certificate of what only the supervisor asks for its health: controller manager and scheduler.
    Certificate("loopback", CA, "gpu-sandbox-loopback", client=False, server_names=("127.0.0.1", "localhost")),
    Certificate("admin", CA, "gpu-sandbox-admin", "system:masters"),
    Certificate("node", CA, f"system:node:{NODE_NAME}", "system:nodes"),
    Certificate("controller-manager", CA, "system:kube-controller-manager"),
    Certificate("scheduler", CA, "system:kube-scheduler"),
    Certificate("kube-proxy", CA, "system:kube-proxy"),
    Certificate("coredns", CA, "gpu-sandbox:coredns"),
)

CLIENTS = ("node", "controller-manager", "scheduler", "kube-proxy", "coredns")


def ensure(directory: Path) -> bool:
    """Make the certificates unless they are all there; True if they were made."""
    if all((directory / file).is_file() for file in _files()):
        return False
    unfinished = directory.with_name(directory.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True, mode=0o700)
    authorities = {name: _create_authority(unfinished, name) for name in AUTHORITIES}
    for certificate in CERTIFICATES:
        _sign(unfinished, certificate, *authorities[certificate.authority])
    key = ec.generate_private_key(ec.SECP256R1())
    _write_key(unfinished / f"{SERVICE_ACCOUNT_KEY}.key", key)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (unfinished / f"{SERVICE_ACCOUNT_KEY}.pub").write_bytes(public)
    shutil.rmtree(directory, ignore_errors=True)
    unfinished.rename(directory)
    return True


def kubeconfig(pki: Path, client: str, server: str, cluster: str = "gpu-sandbox") -> str:
    """A kubeconfig with the certificate of `client` inside, for the API server at `server`."""

    def encoded(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": encoded("ca.crt")}}],
        "users": [
            {
                "name": client,
                "user": {
                    "client-certificate-data": encoded(f"{client}.crt"),
                    "client-key-data": encoded(f"{client}.key"),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": client}}],
        "current-context": cluster,
    }
    return yaml.safe_dump(document, sort_keys=False)


def write_secret(path: Path, content: str | bytes) -> None:
    """Replace a file that only its owner may read; it is never readable by others, not even for a moment."""
    data = content.encode() if isinstance(content, str) else content
    replacement = path.with_name(path.name + ".new")
    replacement.unlink(missing_ok=True)
    descriptor = os.open(replacement, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    replacement.replace(path)


def _files() -> list[str]:
    names = [*AUTHORITIES, *(certificate.name for certificate in CERTIFICATES)]
    service_account = [f"{SERVICE_ACCOUNT_KEY}.key", f"{SERVICE_ACCOUNT_KEY}.pub"]
    return [f"{name}{ending}" for name in names for ending in (".crt", ".key")] + service_account


def _create_authority(directory: Path, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"gpu-sandbox-{name}")])
    certificate = (
        _builder(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_pair(directory, name, certificate, key)
    return certificate, key


def _sign(
    directory: Path, wanted: Certificate, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, wanted.common_name)]
    if wanted.organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, wanted.organization))
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH] if wanted.client else []
    if wanted.server_names:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = (
        _builder(x509.Name(attributes), authority.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if wanted.server_names:
        names = [_general_name(name) for name in wanted.server_names]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    _write_pair(directory, wanted.name, builder.sign(authority_key, hashes.SHA256()), key)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=_VALID_DAYS))
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_pair(directory: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    _write_key(directory / f"{name}.key", key)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    write_secret(
        path,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
