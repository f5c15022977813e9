"""The kernel: composes the lifecycle of an ASGI application from installed parts.

Two of these names are enough to begin with. A component is a function under `lifespan`: an object with a start and a
stop. A `Plan` is the order of all components, checked before anything starts::

    @lifespan(band=LifespanBand.PERSISTENCE)
    async def database(settings: DatabaseSettings) -> AsyncIterator[Database]:
        async with Database(settings) as database:
            yield database


    app = create_app(contributions=[database])  # app.plan is the plan
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandmaster.kernel.lazy import export_lazily as export_lazily

if TYPE_CHECKING:
    from bandmaster.kernel.contributions.bands import LifespanBand as LifespanBand
    from bandmaster.kernel.contributions.bands import MiddlewareBand as MiddlewareBand
    from bandmaster.kernel.contributions.decorators import lifespan as lifespan
    from bandmaster.kernel.contributions.decorators import middleware as middleware
    from bandmaster.kernel.contributions.decorators import value as value
    from bandmaster.kernel.contributions.keys import Key as Key
    from bandmaster.kernel.contributions.keys import Named as Named
    from bandmaster.kernel.contributions.layer_classes import LayerClass as LayerClass
    from bandmaster.kernel.contributions.left_out import leave_out_component as leave_out_component
    from bandmaster.kernel.contributions.left_out import leave_out_value as leave_out_value
    from bandmaster.kernel.contributions.model import CheckContribution as CheckContribution
    from bandmaster.kernel.contributions.model import Contribution as Contribution
    from bandmaster.kernel.contributions.model import ErrorHandlerContribution as ErrorHandlerContribution
    from bandmaster.kernel.contributions.model import LifespanContribution as LifespanContribution
    from bandmaster.kernel.contributions.model import MiddlewareContribution as MiddlewareContribution
    from bandmaster.kernel.contributions.model import Provenance as Provenance
    from bandmaster.kernel.contributions.model import RouteContribution as RouteContribution
    from bandmaster.kernel.contributions.model import ValueContribution as ValueContribution
    from bandmaster.kernel.errors import BandmasterError as BandmasterError
    from bandmaster.kernel.errors import BodyTooLarge as BodyTooLarge
    from bandmaster.kernel.errors import BudgetExceededError as BudgetExceededError
    from bandmaster.kernel.errors import CrashError as CrashError
    from bandmaster.kernel.errors import DeadlineExceeded as DeadlineExceeded
    from bandmaster.kernel.errors import DegradedError as DegradedError
    from bandmaster.kernel.errors import DiscoveryError as DiscoveryError
    from bandmaster.kernel.errors import PermanentError as PermanentError
    from bandmaster.kernel.errors import PlanError as PlanError
    from bandmaster.kernel.errors import Problem as Problem
    from bandmaster.kernel.errors import StartCancelled as StartCancelled
    from bandmaster.kernel.errors import StartError as StartError
    from bandmaster.kernel.errors import StopError as StopError
    from bandmaster.kernel.errors import TargetError as TargetError
    from bandmaster.kernel.errors import TransientError as TransientError
    from bandmaster.kernel.events import Event as Event
    from bandmaster.kernel.hosting.application import Application as Application
    from bandmaster.kernel.hosting.create import create_app as create_app
    from bandmaster.kernel.hosting.error_handlers import share_error_handlers as share_error_handlers
    from bandmaster.kernel.hosting.in_flight import Drain as Drain
    from bandmaster.kernel.hosting.targets import load_application as load_application
    from bandmaster.kernel.hosting.targets import load_kernel as load_kernel
    from bandmaster.kernel.hosting.websockets_in_flight import WebSocketConnection as WebSocketConnection
    from bandmaster.kernel.hosting.websockets_in_flight import current_websocket as current_websocket
    from bandmaster.kernel.imports import ImportFailure as ImportFailure
    from bandmaster.kernel.imports import import_object as import_object
    from bandmaster.kernel.lifecycle.context import Context as Context
    from bandmaster.kernel.lifecycle.health import Check as Check
    from bandmaster.kernel.lifecycle.health import Report as Report
    from bandmaster.kernel.lifecycle.kernel import Kernel as Kernel
    from bandmaster.kernel.lifecycle.phases import Phase as Phase
    from bandmaster.kernel.lifecycle.resources import Resources as Resources
    from bandmaster.kernel.lifecycle.resources import Scoped as Scoped
    from bandmaster.kernel.lifecycle.restart import Restart as Restart
    from bandmaster.kernel.logs import FieldLogger as FieldLogger
    from bandmaster.kernel.logs import get_logger as get_logger
    from bandmaster.kernel.planning.plan import Plan as Plan
    from bandmaster.kernel.planning.start_checks import EventLoop as EventLoop
    from bandmaster.kernel.process.background import run_process as run_process
    from bandmaster.kernel.process.exit import end_process as end_process
    from bandmaster.kernel.process.launcher import serve as serve
    from bandmaster.kernel.process.log_formats import render_console_head as render_console_head
    from bandmaster.kernel.process.log_formats import render_console_line as render_console_line
    from bandmaster.kernel.process.servers.settings import ServerSettings as ServerSettings
    from bandmaster.kernel.redaction.masking import REDACTED as REDACTED
    from bandmaster.kernel.redaction.redactor import Redactor as Redactor
    from bandmaster.kernel.redaction.walk import PlainValue as PlainValue
    from bandmaster.kernel.settings.base import Settings as Settings
    from bandmaster.kernel.settings.kernel import KernelSettings as KernelSettings
    from bandmaster.kernel.settings.named_secrets import MAKE_SECRET as MAKE_SECRET
    from bandmaster.kernel.settings.named_secrets import NamedSecrets as NamedSecrets
    from bandmaster.kernel.settings.named_values import NamedValues as NamedValues
    from bandmaster.kernel.settings.reading import load_settings as load_settings
    from bandmaster.kernel.settings.reading import named_settings as named_settings
    from bandmaster.kernel.settings.validation import validation_messages as validation_messages
    from bandmaster.kernel.stack.exchange import Exchange as Exchange
    from bandmaster.kernel.stack.exchange import WebSocketInfo as WebSocketInfo
    from bandmaster.kernel.stack.exchange import current_exchange as current_exchange
    from bandmaster.kernel.stack.headers import HeaderBlock as HeaderBlock
    from bandmaster.kernel.tracebacks import render_traceback as render_traceback

# A description of a part needs neither the event loop nor starlette nor pydantic.
# So each name is imported when it is first used.
export_lazily(
    __name__,
    {
        "contributions.bands": ["LifespanBand", "MiddlewareBand"],
        "contributions.decorators": ["lifespan", "middleware", "value"],
        "contributions.keys": ["Key", "Named"],
        "contributions.layer_classes": ["LayerClass"],
        "contributions.left_out": ["leave_out_component", "leave_out_value"],
        "contributions.model": [
            "CheckContribution",
            "Contribution",
            "ErrorHandlerContribution",
            "LifespanContribution",
            "MiddlewareContribution",
            "Provenance",
            "RouteContribution",
            "ValueContribution",
        ],
        "errors": [
            "BandmasterError",
            "BodyTooLarge",
            "BudgetExceededError",
            "CrashError",
            "DeadlineExceeded",
            "DegradedError",
            "DiscoveryError",
            "PermanentError",
            "PlanError",
            "Problem",
            "StartCancelled",
            "StartError",
            "StopError",
            "TargetError",
            "TransientError",
        ],
        "events": ["Event"],
        "hosting.application": ["Application"],
        "hosting.create": ["create_app"],
        "hosting.error_handlers": ["share_error_handlers"],
        "hosting.in_flight": ["Drain"],
        "hosting.targets": ["load_application", "load_kernel"],
        "hosting.websockets_in_flight": ["WebSocketConnection", "current_websocket"],
        "lazy": ["export_lazily"],
        "imports": ["ImportFailure", "import_object"],
        "lifecycle.context": ["Context"],
        "lifecycle.phases": ["Phase"],
        "lifecycle.health": ["Check", "Report"],
        "lifecycle.kernel": ["Kernel"],
        "lifecycle.resources": ["Resources", "Scoped"],
        "lifecycle.restart": ["Restart"],
        "logs": ["FieldLogger", "get_logger"],
        "planning.plan": ["Plan"],
        "planning.start_checks": ["EventLoop"],
        "process.background": ["run_process"],
        "process.exit": ["end_process"],
        "process.launcher": ["serve"],
        "process.log_formats": ["render_console_head", "render_console_line"],
        "process.servers.settings": ["ServerSettings"],
        "redaction.masking": ["REDACTED"],
        "redaction.redactor": ["Redactor"],
        "redaction.walk": ["PlainValue"],
        "settings.base": ["Settings"],
        "settings.kernel": ["KernelSettings"],
        "settings.named_values": ["NamedValues"],
        "settings.named_secrets": ["MAKE_SECRET", "NamedSecrets"],
        "settings.reading": ["load_settings", "named_settings"],
        "settings.validation": ["validation_messages"],
        "stack.exchange": ["Exchange", "WebSocketInfo", "current_exchange"],
        "stack.headers": ["HeaderBlock"],
        "tracebacks": ["render_traceback"],
    },
)
