"""What a Lightning training makes of signals, of lost processes, and of Lightning's own ways with them."""

import inspect
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import lightning as L
import numpy as np
import pytest
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

import scratch
from scratch import Adam, DivergenceError, Interrupted, State, Stop
from tests.torch_impl.trainings import NETWORK, data, initial, recipe
from torch_impl import lit_processes, lit_train

ROOT = Path(__file__).parent.parent.parent


def test_lightnings_connector_is_what_ours_stands_for():
    """It is not public: all that Lightning asks it for, ours has."""
    assert hasattr(L.Trainer(logger=False, enable_checkpointing=False, barebones=False), "_signal_connector")
    folder = Path(inspect.getfile(L.Trainer)).parent.parent
    text = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    asked = set(re.findall(r"_signal_connector\.(\w+)", text))
    assert asked <= {name for name in dir(lit_processes.NoSignals) if not name.startswith("__")}
    assert {"register_signal_handlers", "teardown"} <= asked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=str)
def test_a_signal_stops_between_two_records_with_the_state_of_its_step(number, tmp_path):
    r = recipe(optimizer=Adam(0.02))
    x, y, validation = data()
    whole, state, steps = State.start(initial(), r), State.start(initial(), r), []
    list(scratch.fit(NETWORK, r, x, y, whole, validation))

    def on_record(record):
        steps.append(record.step)
        if record.step == 5:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as stopped:
        lit_train.fit(NETWORK, r, x, y, state, validation, on_record=on_record, checkpoint=tmp_path / "saved")
    assert stopped.value.number == number
    assert signal.getsignal(number) == before
    assert steps == [1, 2, 3, 4, 5]
    saved = scratch.load_state(tmp_path / "saved", NETWORK)
    assert saved.progress == state.progress
    assert state.progress.step == 5
    np.testing.assert_array_equal(saved.params.vector, state.params.vector)
    lit_train.fit(NETWORK, r, x, y, saved, validation)
    np.testing.assert_allclose(saved.params.vector, whole.params.vector, rtol=0, atol=1e-12)


def test_a_signal_to_one_of_two_processes_stops_both(tmp_path):
    """It comes to the second one, of which the first does not know until they agree."""
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing, os, signal, sys
            import scratch
            from tests.torch_impl.trainings import NETWORK, data, initial, recipe
            from torch_impl import lit_train

            def on_record(record):
                if record.step == 5:
                    children = open(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read().split()
                    second = next(int(pid) for pid in reversed(children) if int(pid) != os.getpid())
                    os.kill(second, signal.SIGTERM)

            if __name__ == "__main__":
                x, y, validation = data()
                state = scratch.State.start(initial(), recipe(epochs=500))
                try:
                    lit_train.fit(
                        NETWORK, recipe(epochs=500), x, y, state, validation,
                        on_record=on_record, checkpoint=sys.argv[1], checkpoint_every=1e6, devices=2,
                    )
                except scratch.Interrupted as stop:
                    sys.exit(stop.status)
            """
        )
    )
    command = [sys.executable, str(script), str(tmp_path / "saved")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 143, done.stderr
    assert "Traceback" not in done.stderr
    assert 5 <= scratch.load_state(tmp_path / "saved", NETWORK).progress.step < 1500


@pytest.mark.parametrize("error", [OSError(2, "the caller's own"), RuntimeError("the caller's own")], ids=str)
@pytest.mark.parametrize("strategy", ["auto", "ddp"])
def test_an_error_of_on_record_is_the_callers_own(error, strategy):
    """It is neither TensorBoard's nor that of a process that is gone."""

    def on_record(record):
        raise error

    r = recipe()
    x, y, _ = data()
    with pytest.raises(type(error), match="the caller's own") as found:
        lit_train.fit(NETWORK, r, x, y, State.start(initial(), r), on_record=on_record, strategy=strategy)
    assert found.value is error
    assert "MASTER_PORT" not in os.environ  # it would be in use for whoever inherits it


@pytest.mark.parametrize(
    ("error", "by_on_record", "told"),
    [
        (DivergenceError("nan"), False, True),
        (RuntimeError("Connection closed by peer"), False, False),
        (RuntimeError("the caller's own"), True, True),
    ],
    ids=str,
)
def test_a_process_tells_why_it_ends_unless_its_peer_has_gone(error, by_on_record, told, monkeypatch):
    def take(*_):
        raise error

    recording = lit_train.Recording(None, None, 0.0)
    recording.home, recording.failures, recording.raised = 1, Failures(), error if by_on_record else None
    monkeypatch.setattr(recording, "_take", take)
    with pytest.raises(type(error)):
        recording._record(None, None, ends=False)
    assert recording.failures == [error] * told


def test_a_signal_is_passed_on_to_processes_that_were_spawned_and_to_no_others():
    context = multiprocessing.get_context("spawn")
    others, own = (context.Process(target=time.sleep, args=(60,)) for _ in range(2))
    others.start()
    stop = Stop()
    with lit_processes.passed_on(stop):
        own.start()
        stop.number = signal.SIGINT
        own.join(30)
    assert own.exitcode == -signal.SIGTERM
    assert others.is_alive()
    others.kill()
    others.join()


class Failures(list):
    def empty(self):
        return not self

    get, put = list.pop, list.append


@pytest.mark.parametrize(
    ("error", "stop", "failures", "expected"),
    [
        (RuntimeError("Connection closed by peer"), 15, [], Interrupted(15)),
        (ProcessExitedException("exited", 0, 1, 143), 0, [], Interrupted(15)),
        (ProcessExitedException("exited", 0, 1, 1), 2, [], Interrupted(2)),
        (ProcessRaisedException("a traceback", 0, 1), 0, [DivergenceError("nan")], DivergenceError("nan")),
        (ProcessRaisedException("a traceback\nValueError: it", 0, 1), 0, [], ChildProcessError("ValueError: it")),
        (ProcessExitedException("by SIGKILL", 0, 1, -9), 0, [], ChildProcessError("by SIGKILL")),
        (RuntimeError("Connection closed by peer"), 0, [], ChildProcessError("Connection closed by peer")),
        (RuntimeError(), 0, [], ChildProcessError("(RuntimeError)")),
        (TypeError("of the caller's own"), 0, [], TypeError("of the caller's own")),
    ],
    ids=str,
)
def test_an_error_of_several_processes_is_explained(error, stop, failures, expected):
    found = lit_processes.explained(error, Stop(stop), Failures(failures))
    assert type(found) is type(expected)
    assert str(expected) in str(found)
    if isinstance(expected, Interrupted):
        assert found.number == expected.number


def test_a_process_whose_parent_is_gone_ends():
    code = "import os; from torch_impl.lit_processes import watched\nimport time\nwith watched({}):\n    time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", code.format(1)], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 1
    assert lit_processes.is_orphan(1)
    assert not lit_processes.is_orphan(os.getppid())
    assert not lit_processes.is_orphan(None)


def test_a_process_that_hangs_after_a_signal_ends():
    code = """
import os, signal
from scratch import interruptible
from torch_impl import lit_processes
lit_processes.PATIENCE = 0.2
with interruptible(), lit_processes.watched():
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        pass
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 143
