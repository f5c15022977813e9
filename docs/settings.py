"""Write docs/settings.md: every setting of the kernel, the launcher and the contribs."""

from __future__ import annotations

import sys
from pathlib import Path

from bandmaster.contrib.audit import AuditSettings
from bandmaster.contrib.http import HttpSettings
from bandmaster.contrib.logging import LogSettings
from bandmaster.contrib.logging.sentry.settings import SentrySettings
from bandmaster.contrib.oidc import (
    AccessSettings,
    ApiKeySettings,
    AuthSettings,
    DevProviderSettings,
    IntrospectionSettings,
    LoginSettings,
    SessionSettings,
    TokenStoreSettings,
)
from bandmaster.contrib.persistence import DatabaseSettings, OutboxSettings
from bandmaster.contrib.redis import RedisSettings
from bandmaster.contrib.taskiq import TaskIQSettings
from bandmaster.contrib.tracing.instrumentation.settings import InstrumentationSettings
from bandmaster.contrib.tracing.metrics.settings import MetricsSettings
from bandmaster.contrib.tracing.metrics.standard_settings import OpenTelemetryMetricsSettings
from bandmaster.contrib.tracing.settings import TracingSettings
from bandmaster.contrib.tracing.standard_settings import OpenTelemetrySettings
from bandmaster.contrib.web import WebSettings
from bandmaster.kernel.process.servers.settings import ServerSettings
from bandmaster.kernel.settings.display import describe_settings
from bandmaster.kernel.settings.environment import EnvFileSettings
from bandmaster.kernel.settings.kernel import KernelSettings
from bandmaster.kernel.settings.target import TargetSettings

PAGE = Path(__file__).parent / "settings.md"
HEAD = """\
# Settings

Settings are read from the environment. `bandmaster config` lists the settings of every installed part with their
current values, and masks secrets. `bandmaster config --format env` prints an example file, for `--env-file`.
`bandmaster check` warns of a variable with a misspelt name. See [how to set things](how-to/settings.md).
"""
SETTINGS = {
    "The kernel": KernelSettings,
    "The launcher's server": ServerSettings,
    "The command line": TargetSettings,
    "The env file": EnvFileSettings,
    "bandmaster-web": WebSettings,
    "bandmaster-persistence": DatabaseSettings,
    "bandmaster-persistence, the outbox": OutboxSettings,
    "bandmaster-redis": RedisSettings,
    "bandmaster-taskiq": TaskIQSettings,
    "bandmaster-http": HttpSettings,
    "bandmaster-oidc": AuthSettings,
    "bandmaster-oidc, requests": AccessSettings,
    "bandmaster-oidc, login": LoginSettings,
    "bandmaster-oidc, sessions": SessionSettings,
    "bandmaster-oidc, revoked tokens": TokenStoreSettings,
    "bandmaster-oidc, opaque tokens": IntrospectionSettings,
    "bandmaster-oidc, API keys": ApiKeySettings,
    "bandmaster-oidc, the provider for development": DevProviderSettings,
    "bandmaster-logging": LogSettings,
    "bandmaster-logging, Sentry": SentrySettings,
    "bandmaster-tracing": TracingSettings,
    "bandmaster-tracing, the standard variables": OpenTelemetrySettings,
    "bandmaster-tracing, calls, tasks and statements": InstrumentationSettings,
    "bandmaster-tracing, metrics": MetricsSettings,
    "bandmaster-tracing, the standard variables of metrics": OpenTelemetryMetricsSettings,
    "bandmaster-audit": AuditSettings,
}


def main() -> int:
    """Write the page. With --check, compare the page with the settings and write nothing."""
    lines = [HEAD]
    for title, kind in SETTINGS.items():
        lines += [f"## {title}", "", "| variable | default | meaning |", "|---|---|---|"]
        for setting in describe_settings(kind):
            default = f"`{setting.default}`" if setting.default else ""
            lines.append(f"| `{setting.variable}` | {default} | {setting.description.replace('|', chr(92) + '|')} |")
        lines.append("")
    page = "\n".join(lines)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print("docs/settings.md is out of date; run: python docs/settings.py", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
