"""`make template`: plain CloudFormation, compared with the CDK's templates."""

import json
import os
import re
import subprocess
import sys
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from infra import app, deploy, package, plain_app, state, templates
from infra.account_rules import BOUNDARY, QUALIFIER
from infra.arguments import ROOT
from tests.infra.synthesized import FORWARDED, HOME, Stack, Synthesize, readable

SHAPES: list[dict[str, object]] = [
    {},
    {
        "floor": "required",
        "account_defaults": True,
        "schedule": "rate(1 hour)",
        "notification_email": "ops@example.com",
        "tags": {"team": "platform"},
        "role_name": "imds-enforcer",
        "role_path": "/security/",
        "termination_protection": True,
        BOUNDARY: {"name": "boundary"},
        QUALIFIER: "strict",
    },
]


def read(folder: Path, name: str) -> dict[str, Any]:
    """A stack's template."""
    template: dict[str, Any] = json.loads((folder / f"{name}.template.json").read_text("utf-8"))
    return template


class TestTemplates:
    """The files written."""

    def test_every_context_key_that_shapes_a_stack_is_tried(self) -> None:
        """The next test tries all keys except the regions."""
        assert {*SHAPES[1], "regions"} == {*app.KEYS}

    @pytest.mark.parametrize("shape", SHAPES, ids=["plain", "shaped"])
    def test_home_equals_the_cdks_template_except_for_code_and_bootstrap(
        self, synthesize: Synthesize, default_context: dict[str, Any], tmp_path: Path, shape: dict[str, object]
    ) -> None:
        """So the tests of the CDK's template hold for this one: permissions, alarms, outputs, order of creation."""
        cdk = deepcopy(synthesize(regions=[FORWARDED], **shape).get_stack_by_name("ImdsEnforcer").template)
        plain_app.write(tmp_path, default_context | {"regions": "all"} | shape)
        plain = read(tmp_path, "ImdsEnforcer")
        assert {*cdk.pop("Parameters")} == {"BootstrapVersion"}
        assert {*cdk.pop("Rules")} == {"CheckBootstrapVersion"}
        assert {name: each["Type"] for name, each in plain.pop("Parameters").items()} == {
            "CodeBucket": "String",
            "CodeKey": "String",
        }
        for template, place in ((cdk, None), (plain, {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}})):
            [function] = (each for each in template["Resources"].values() if each["Type"] == "AWS::Lambda::Function")
            code = function["Properties"].pop("Code")
            assert place in (None, code)
        assert plain == cdk

    def test_the_forwarder_is_the_cdks_but_for_the_home_region(self, written: Path, forwarder: Stack) -> None:
        """The home region is a parameter: one template serves every region."""
        plain = read(written, "ImdsEnforcerForwarder")
        assert {*plain} == {"Description", "Parameters", "Resources"}
        assert {*plain["Parameters"]} == {"HomeRegion"}
        text = json.dumps(readable(Stack(plain).resources)).replace("${HomeRegion}", HOME)
        assert json.loads(text) == forwarder.resources

    def test_the_state_stack_is_the_same(self, written: Path) -> None:
        """The context's first values and the stack policy are written beside it."""
        assert read(written, state.STACK) == state.template()
        assert json.loads((written / templates.STACK_POLICY).read_text()) == state.PROTECTION
        first = json.loads((written / templates.FIRST_VALUES).read_text())
        assert {each["ParameterKey"]: each["ParameterValue"] for each in first} == state.first_values(
            http_tokens="required", mode="audit"
        )

    def test_they_fit_every_account_region_and_partition(self, written: Path) -> None:
        """They name no account, region or partition, and need no bootstrap, asset or custom resource."""
        texts = [path.read_text() for path in written.glob("*.template.json")]
        assert len(texts) == 3
        for text in texts:
            assert not re.search(r"arn:aws|\b\d{12}\b|\b(eu|us)-[a-z]+-\d|cdk|Custom", text)

    def test_each_can_be_sent_inline(self, written: Path, default_context: dict[str, Any], tmp_path: Path) -> None:
        """API reference, CreateStack: a TemplateBody has at most 51,200 bytes. There is room for tags everywhere."""
        plain_app.write(tmp_path, default_context | SHAPES[1])
        sizes = [path.stat().st_size for folder in (written, tmp_path) for path in folder.glob("*.template.json")]
        assert len(sizes) == 5
        assert max(sizes) < 40_000

    def test_cfn_lint_finds_nothing(self, written: Path) -> None:
        """No errors and no warnings, with nothing ignored."""
        files = map(str, written.glob("*.template.json"))
        command = [str(Path(sys.executable).with_name("cfn-lint")), "--", *files]
        lint = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        assert (lint.returncode, lint.stdout) == (0, "")

    def test_the_commands_set_tags_and_termination_protection(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A template cannot set those of its stack."""
        context = ["-c", 'tags={"team": "a b"}', "-c", "termination_protection=true"]
        assert deploy.main(["template", *context, f"--output={tmp_path}"]) == 0
        created = [line for line in capsys.readouterr().out.splitlines() if " create-stack " in line]
        assert len(created) == 3
        assert all(
            "--tags 'Key=team,Value=a b'" in line and " --enable-termination-protection" in line for line in created
        )

    def test_an_invalid_context_writes_nothing(self, tmp_path: Path) -> None:
        """The message is the same as for a deployment."""
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "infra.deploy", "template", "-c", "floor=optional", f"--output={tmp_path}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert "context 'floor': received 'optional'; allowed: required" in done.stderr
        assert list(tmp_path.iterdir()) == []


class TestCode:
    """The function's zip."""

    def test_it_has_what_the_cdk_uploads(self, written: Path, asset: Path) -> None:
        """The two archives have the same files, with the same content."""
        [code] = written.glob("*.zip")
        with zipfile.ZipFile(code) as packed:
            assert packed.testzip() is None
            contents = {name: packed.read(name) for name in packed.namelist()}
        assert contents == {str(p.relative_to(asset)): p.read_bytes() for p in asset.rglob("*") if p.is_file()}

    def test_the_same_sources_make_the_same_bytes(
        self, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the files' times and modes, and whatever was imported from the folder."""
        [code] = written.glob("*.zip")
        copy = tmp_path / "copy"
        with zipfile.ZipFile(code) as packed:
            for name in reversed(packed.namelist()):
                packed.extract(name, copy)
                os.utime(copy / name, (1, 2_000_000_000))
                (copy / name).chmod(0o600)
        if not package.has_byte_code():  # otherwise an import finds byte code, and writes none
            (copy / "__pycache__").mkdir()
            (copy / "__pycache__" / "six.pyc").touch()
        monkeypatch.setattr(package, "build", lambda: copy)
        again = package.archive(tmp_path)
        assert (again.name, again.read_bytes()) == (code.name, code.read_bytes())
        (copy / "six.py").write_text("# another")
        assert package.archive(tmp_path).name != code.name
