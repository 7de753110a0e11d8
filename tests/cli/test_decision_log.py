"""Options of the decision log."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from analyzer.assembly import Settings
from analyzer.cli import app
from analyzer.cli.daemon import RunOptions, settings_of
from analyzer.cli.options import UsageError


def settings(size: str = "64Mi") -> Settings:
    return settings_of(
        RunOptions(
            prometheus="http://prometheus:9090",
            bearer_token_file=None,
            kubeconfig=None,
            context=None,
            namespaces=(),
            manifests=(),
            instance="test",
            listen="127.0.0.1:0",
            period="5s",
            checkpoint="30s",
            reporter="source",
            webhooks=(),
            dry_run=True,
            log_format="auto",
            log_level="INFO",
            decision_log="decisions.jsonl",
            decision_log_size=size,
        )
    )


def test_the_size_of_the_file_has_a_unit() -> None:
    assert settings("512Ki").decision_log_bytes == 512 * 1024
    for wrong in ("64", "64MB", "0Mi", "-1Mi", "1.5Gi"):
        with pytest.raises(UsageError, match="write a whole number with its unit"):
            settings(wrong)


def test_a_replay_is_of_one_thing(tmp_path: Path) -> None:
    both = CliRunner().invoke(app, ["replay", "--decisions", "-", "--counts", "-"])
    assert both.exit_code == 2
    assert "--decisions FILE" in both.output
    missing = CliRunner().invoke(app, ["replay", "--decisions", str(tmp_path / "none")])
    assert missing.exit_code == 2
