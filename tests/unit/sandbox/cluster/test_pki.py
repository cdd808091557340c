"""The certificates: who may do what with them, and who may read their keys."""

from __future__ import annotations

import base64
import ipaddress
import stat
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gpu_sandbox import pki


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pki") / "pki"
    assert pki.ensure(made)
    return made


def _load(directory: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / f"{name}.crt").read_bytes())


@pytest.mark.parametrize("wanted", pki.CERTIFICATES, ids=lambda wanted: wanted.name)
def test_every_certificate_is_signed_by_its_authority_alone(directory: Path, wanted: pki.Certificate) -> None:
    certificate = _load(directory, wanted.name)
    for authority in pki.AUTHORITIES:
        issuer = _load(directory, authority)
        if authority == wanted.authority:
            certificate.verify_directly_issued_by(issuer)
        else:
            with pytest.raises(ValueError, match="Issuer"):
                certificate.verify_directly_issued_by(issuer)


@pytest.mark.parametrize("wanted", pki.CERTIFICATES, ids=lambda wanted: wanted.name)
def test_usage_is_what_was_asked_for_and_no_more(directory: Path, wanted: pki.Certificate) -> None:
    usages = set(_load(directory, wanted.name).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert (ExtendedKeyUsageOID.CLIENT_AUTH in usages) is wanted.client
    assert (ExtendedKeyUsageOID.SERVER_AUTH in usages) is bool(wanted.server_names)


def test_the_node_is_who_the_node_authorizer_expects(directory: Path) -> None:
    subject = _load(directory, "node").subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "system:node:gpu-sandbox-0"
    assert subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:nodes"


def test_only_the_admin_is_a_master(directory: Path) -> None:
    masters = [c.name for c in pki.CERTIFICATES if "masters" in c.organization]
    assert masters == ["admin"]


def test_the_api_server_answers_under_all_its_names(directory: Path) -> None:
    names = _load(directory, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = set(names.get_values_for_type(x509.IPAddress))
    assert addresses == {ipaddress.ip_address(a) for a in ("127.0.0.1", "10.244.0.1", "10.96.0.1")}
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)


def test_private_keys_are_the_owners_alone(directory: Path) -> None:
    keys = list(directory.glob("*.key"))
    assert len(keys) == len(pki.CERTIFICATES) + len(pki.AUTHORITIES) + 1
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_second_call_keeps_what_is_there(directory: Path) -> None:
    before = (directory / "ca.crt").read_bytes()
    assert not pki.ensure(directory)
    assert (directory / "ca.crt").read_bytes() == before


def test_an_unfinished_set_is_made_anew(tmp_path: Path) -> None:
    made = tmp_path / "pki"
    pki.ensure(made)
    before = (made / "ca.crt").read_bytes()
    (made / "admin.key").unlink()
    assert pki.ensure(made)
    assert (made / "ca.crt").read_bytes() != before
    assert not (tmp_path / "pki.new").exists()


def test_a_kubeconfig_is_complete_in_itself(directory: Path) -> None:
    document = yaml.safe_load(pki.kubeconfig(directory, "admin", "https://127.0.0.1:6443"))
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    assert cluster["server"] == "https://127.0.0.1:6443"
    assert base64.b64decode(cluster["certificate-authority-data"]) == (directory / "ca.crt").read_bytes()
    assert base64.b64decode(user["client-key-data"]) == (directory / "admin.key").read_bytes()


def test_a_secret_is_never_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    pki.write_secret(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
