"""The inspection portal: time from key press to next image, and votes stored despite `kill -9`.

    python benchmarks/portal.py

The first part grades 500 candidates in Chromium on this machine, with each key press as soon as the
image is on the screen (faster than anybody grades), and then at five per second. In the second, 8
graders send 200 votes each while the server is killed and restarted twice; the acknowledged votes
are compared with those in the file.
"""

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.portal import Grader, Started, make_run, vote

from lenspipe.config.paths import RunPaths
from lenspipe.inspection.store import Store

GRADERS, VOTES, KILLS = 8, 200, 2

# From the time stamp of the key press to the frame after the one in which the image was drawn.
WATCH = """() => {
  window.times = [];
  let pressed = 0;
  document.addEventListener("keydown", (event) => (pressed = event.timeStamp), true);
  new MutationObserver(() => requestAnimationFrame(() => setTimeout(
    () => window.times.push(performance.now() - pressed)
  ))).observe(document.querySelector("#large"), { attributeFilter: ["data-place"] });
}"""


def next_images(address: str, number: int, pause_s: float) -> np.ndarray:
    """Milliseconds from key press to image, for each of a number of candidates."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.goto(address)
        page.wait_for_selector("#large[data-place]")
        page.evaluate(WATCH)
        for i in range(number):
            page.keyboard.press("abcd"[i % 4])
            while page.evaluate("window.times.length") <= i:
                time.sleep(0.002)
            time.sleep(pause_s)
        times = page.evaluate("window.times")
        browser.close()
    return np.array(times)


def killed_votes(paths: RunPaths) -> tuple[int, int, int]:
    """Numbers of acknowledged votes, of those of them that are in the file, and of all in it."""
    names, lock = [f"grader{i}" for i in range(GRADERS)], threading.Lock()
    acknowledged: list[str] = []
    arguments = [word for name in names for word in ("--grader", name)]
    portal = Started(paths, *arguments)

    def retry(request: Callable[[], Any]) -> Any:
        while True:
            try:
                if (answer := request()) is not None:
                    return answer
            except OSError:
                time.sleep(0.05)

    def grade(name: str) -> None:
        grader = Grader(portal.address, name)
        about = retry(grader.list)
        for number in range(VOTES):
            sent = vote(number, "ABCD"[number % 4])
            retry(lambda sent=sent: grader.post(about, [sent]).status_code == 200 or None)
            with lock:
                acknowledged.append(sent["key"])

    threads = [threading.Thread(target=grade, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for kill in range(1, KILLS + 1):
        while len(acknowledged) < kill * GRADERS * VOTES / (KILLS + 1):
            time.sleep(0.005)
        portal.kill()
        portal = Started(paths, port=portal.port)
    for thread in threads:
        thread.join()
    portal.kill()
    store = Store(paths.inspection())
    stored = [row["key"] for row in store.votes()]
    store.close()
    return len(acknowledged), len(set(acknowledged) & set(stored)), len(stored)


def measure(folder: Path, number: int) -> dict[str, float]:
    """Return all results in one flat dict."""
    flat: dict[str, float] = {"candidates": number}
    paths = make_run(folder / "fast", n=number, per_brick=50, size=101)
    with Started(paths, "--grader", "fast", "--grader", "slow", "--repeats", "0.01") as portal:
        for name, pause_s in (("fast", 0.0), ("slow", 0.2)):
            times = next_images(f"{portal.address}/g/{name}/", number, pause_s)
            key = "next_image" if name == "slow" else "next_image_at_once"
            for q in (50, 95, 100):
                flat[f"{key}_p{q}_ms"] = round(float(np.percentile(times, q)), 1)
    paths = make_run(folder / "killed", n=VOTES, size=33)
    begin = time.perf_counter()
    acknowledged, stored, rows = killed_votes(paths)
    flat |= {"graders": GRADERS, "kills": KILLS, "votes_acknowledged": acknowledged}
    flat |= {"votes_kept": stored, "votes_in_file": rows}
    return flat | {"votes_s": round(time.perf_counter() - begin, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidates", type=int, default=500, help="number of candidates to grade")
    parser.add_argument("--json", action="store_true", help="print one flat object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flat = measure(Path(folder), options.candidates)
    if options.json:
        json.dump(flat, sys.stdout)
        print()
        return
    print(f"{flat['candidates']} candidates; key press to next image, ms\n")
    print(f"{'':24}{'median':>8}{'95 %':>8}{'longest':>9}")
    for label, name in (
        ("as soon as it is shown", "next_image_at_once"),
        ("five per second", "next_image"),
    ):
        median, p95, longest = (flat[f"{name}_p{q}_ms"] for q in (50, 95, 100))
        print(f"{label:24}{median:8.1f}{p95:8.1f}{longest:9.1f}")
    print(f"\n{flat['graders']} graders, server killed {flat['kills']} times")
    print(
        f"votes acknowledged {flat['votes_acknowledged']}, of these stored {flat['votes_kept']}, "
    )
    print(f"in the file {flat['votes_in_file']}")


if __name__ == "__main__":
    main()
