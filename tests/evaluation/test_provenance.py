import re
import subprocess

from rlvr_world_hf.evaluation import provenance


def test_commit_is_that_of_the_library_or_unknown():
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", provenance.commit())


def test_without_git_the_commit_is_unknown(monkeypatch):
    def missing(*arguments, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert provenance.commit() == "unknown"


def test_machine_names_cores_and_no_host():
    import platform

    assert "core" in provenance.machine()
    assert platform.node() not in provenance.machine()


def test_versions_name_what_is_installed(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package"))
    assert set(provenance.versions()) == {"python", "torch"}
