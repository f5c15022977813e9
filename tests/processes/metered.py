"""The application of the tests of metrics in several processes: a route, and a task that the queue runs."""

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bandmaster.contrib.taskiq import TaskQueue, task, tasks
from bandmaster.contrib.taskiq.component import task_worker, taskiq
from bandmaster.contrib.tracing import trace_propagator, tracing
from bandmaster.contrib.tracing.metrics.component import metrics, runtime_metrics
from bandmaster.contrib.tracing.metrics.endpoint_component import metrics_endpoint
from bandmaster.contrib.tracing.metrics.task_component import task_metrics
from bandmaster.contrib.tracing.requests.layer import TracingLayer
from bandmaster.kernel import create_app


@task
async def double(number: int) -> int:
    return 2 * number


async def item(request):
    return PlainTextResponse(request.path_params["id"])


async def send(request):
    await request.state.resources[TaskQueue].send(double, 1)
    return PlainTextResponse("sent")


host = Starlette(routes=[Route("/items/{id}", item), Route("/send", send)])
parts = [
    tasks("metered", double),
    taskiq,
    task_worker,
    tracing,
    trace_propagator,
    metrics,
    metrics_endpoint,
    runtime_metrics,
    task_metrics,
    TracingLayer,
]
app = create_app(host, contributions=parts, discover=False)
