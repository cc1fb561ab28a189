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


def test_a_commit_is_dirty_where_what_results_depend_on_differs(monkeypatch, tmp_path):
    written = ["docs/evidence.md", "README.md", "model_cards/pusht/results.json", "docs/evidence/steps.png"]
    source = "rlvr_world_hf/evaluation/provenance.py"
    for name in [*written, source, "model_cards/pusht/config.json"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "One")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / source))
    clean = provenance.commit()
    for name in written:
        (tmp_path / name).write_text("two")
    assert provenance.commit() == clean and len(clean) == 40
    (tmp_path / "model_cards/pusht/config.json").write_text("two")
    assert provenance.commit() == clean + "-dirty"
