"""Locust users for Vitrine, with right answers and the server's own stage times.

    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8080 --images FOLDER

`make load` opens the web page; --headless and --master / --worker work as in any locustfile. The
page gains a tab with the stages that the server reports, and a live chart of them at /stages.
Locust is closed-loop: what it prints is the latency of those who still ask. For latency under a
given load use `make load-report`.
"""

from __future__ import annotations

import csv
import io
import itertools
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.experimental.gevent
from flask import Response, request
from locust import FastHttpUser, User, constant, constant_throughput, events, task
from locust.runners import MasterRunner, WorkerRunner

from harness.gallery import Gallery, fill
from harness.pictures import load_folder
from harness.scenarios import Mix, open_mix
from harness.stages import StageLog
from harness.triton import TritonRequests, decode_all
from harness.wire import authorization

if TYPE_CHECKING:
    from argparse import Namespace

    from locust.env import Environment

# gRPC's threads and gevent's greenlets share one loop only after this
grpc.experimental.gevent.init_gevent()

# The client's requests that fill the gallery are none of Locust's news
logging.getLogger("httpx").setLevel(logging.WARNING)

PAGE = Path(__file__).parent / "harness" / "stages.html"
log = StageLog()


class Shared:
    """What all users of this process share: the gallery and the stream of requests."""

    mix: Mix
    triton: TritonRequests
    numbers = itertools.count()


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    group = parser.add_argument_group("Vitrine")
    group.add_argument("--images", required=True, help="Folder of images")
    group.add_argument("--limit", type=int, default=500, help="Images of the folder to use")
    group.add_argument("--collection", default="load", help="Made and filled when it is not there")
    group.add_argument(
        "--mix",
        default="image:8,vector:2",
        help="Scenarios by weight: image, vector, text, mixed, ingest",
    )
    group.add_argument("--zipf", type=float, default=0.8, help="Exponent of repetition; 0: none")
    group.add_argument(
        "--cache",
        choices=("off", "on"),
        default="off",
        help="off: every image has bytes of its own; on: repeated images repeat their bytes",
    )
    group.add_argument("--pace", type=float, default=0.0, help="Requests/s a user; 0: no pause")
    group.add_argument("--seed", type=int, default=0, help="Seed of the stream")
    group.add_argument("--triton", default="", help="host:port of Triton's gRPC, for TritonUser")
    group.add_argument("--triton-shm", action="store_true", help="Tensors in shared memory")


@events.init.add_listener
def set_up(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    if environment.web_ui:
        _extend_page(environment.web_ui)
    if isinstance(environment.runner, MasterRunner):
        return
    pictures = load_folder(Path(options.images), limit=options.limit, seed=options.seed)
    if any(issubclass(user, VitrineUser) for user in environment.user_classes):
        gallery = fill(environment.host or options.host, pictures, collection=options.collection)
        Shared.mix = _mix(options, gallery, environment)
    if any(issubclass(user, TritonUser) for user in environment.user_classes):
        from vitrine_server.config import load_settings
        from vitrine_server.manifest import load

        preprocessing = load(load_settings().encoder_folder).encoder.preprocessing
        pixels = decode_all([picture.data for picture in pictures], preprocessing)
        Shared.triton = TritonRequests(options.triton, pixels, shared=options.triton_shm)


@events.quitting.add_listener
def tear_down(environment: Environment, **_: Any) -> None:
    if hasattr(Shared, "triton"):
        Shared.triton.close()
    if hasattr(Shared, "mix") and (recall := Shared.mix.recall()) is not None:
        print(f"recall@10 of the image searches under load: {recall:.4f}")
    for row in log.rows():
        print("stage {name:8} {count:8,} requests, mean {mean_ms:8.2f} ms".format(**row))


def _wait_time(user: User) -> float:
    pace = user.environment.parsed_options.pace
    wait = constant_throughput(pace) if pace else constant(0)
    seconds: float = wait(user)
    return seconds


class VitrineUser(FastHttpUser):
    """The mix of scenarios over HTTP."""

    weight = 1
    wait_time = _wait_time

    @task
    def ask(self) -> None:
        index, wanted = Shared.mix.request(next(Shared.numbers))
        with self.client.request(
            wanted.method,
            wanted.path,
            data=wanted.body,  # type: ignore[arg-type] # bytes go out as they are
            headers={**wanted.headers, **authorization()},
            name=Shared.mix.names[index],
            catch_response=True,
        ) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif wanted.is_right is not None and not wanted.is_right(response.content):
                response.failure("wrong answer")
            else:
                response.success()
            log.add(response.headers.get("server-timing") if response.headers else None)


class TritonUser(User):
    """Triton alone: what is left of its speed at the sidecar is the sidecar's cost."""

    weight = 1
    wait_time = _wait_time

    @task
    def infer(self) -> None:
        index = next(Shared.numbers) % len(Shared.triton.expected)
        started = time.perf_counter()
        error: Exception | None = None
        try:
            if not Shared.triton.infer(index):
                error = ValueError("wrong answer")
        except grpc.RpcError as refused:
            error = refused
        self.environment.events.request.fire(
            request_type="gRPC",
            name="Triton infer",
            response_time=(time.perf_counter() - started) * 1e3,
            response_length=0,
            exception=error,
            context={},
        )


def _mix(options: Namespace, gallery: Gallery, environment: Environment) -> Mix:
    # each worker process has a stream of its own
    worker = environment.runner.worker_index if isinstance(environment.runner, WorkerRunner) else 0
    return open_mix(
        options.mix,
        gallery,
        exponent=options.zipf,
        fresh=options.cache == "off",
        seed=options.seed + 1000 * max(0, worker),
    )


# Stage times travel from the workers to the master with Locust's own reports.


@events.report_to_master.add_listener
def send_stages(data: dict[str, Any], **_: Any) -> None:
    data["stages"] = log.take()


@events.worker_report.add_listener
def receive_stages(data: dict[str, Any], **_: Any) -> None:
    log.merge(data.get("stages", {}))


@events.reset_stats.add_listener
def forget_stages(**_: Any) -> None:
    log.clear()


def _extend_page(web_ui: Any) -> None:
    """A tab with the stages, and a chart of them at /stages."""
    columns = {"name": "Stage", "count": "# Requests", "mean_ms": "Mean (ms)", "now_ms": "Now (ms)"}
    structure = [{"key": key, "title": title} for key, title in columns.items()]
    web_ui.template_args["extended_tabs"] = [{"title": "Server stages", "key": "stages"}]
    web_ui.template_args["extended_tables"] = [{"key": "stages", "structure": structure}]
    web_ui.template_args["extended_csv_files"] = [
        {"href": "/stages", "title": "Open the live chart of the server's stages"},
        {"href": "/stages/csv", "title": "Download the server's stages CSV"},
    ]
    app = web_ui.app

    @app.after_request
    def add_stages(response: Response) -> Response:
        if request.path == "/stats/requests" and response.is_json:
            body = dict(response.get_json())
            body["extended_stats"] = [{"key": "stages", "data": log.rows()}]
            response.set_data(app.json.dumps(body))
        return response

    @app.route("/stages")
    def page() -> Response:
        return Response(PAGE.read_text(), mimetype="text/html")

    @app.route("/stages/history")
    def history() -> Any:
        return {"history": log.history()}

    @app.route("/stages/csv")
    def as_csv() -> Response:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["second", "stage", "mean_ms"])
        for point in log.history():
            writer.writerows([point["second"], name, ms] for name, ms in point["stages"].items())
        return Response(text.getvalue(), mimetype="text/csv")
