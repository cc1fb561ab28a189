"""All pages in one process, as a user would serve each of them."""

import runpy
import sys


def serve(metrics: str, playground: str, *words: str) -> None:
    """
    In a fork: serve pages of metrics, given as `app:port,app:port`, and the playground, with the words of its command
    line, until the process is killed.
    """
    for app, port in (metric.rsplit(":", 1) for metric in metrics.split(",")):
        runpy.run_path(app)["build_page"]().launch(server_port=int(port), prevent_thread_lock=True, quiet=True)
    sys.argv = [playground, *words]
    runpy.run_path(playground, run_name="__main__")
