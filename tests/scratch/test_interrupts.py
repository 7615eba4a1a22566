"""Signals are noted, and a training stops between two steps."""

import os
import pickle
import signal
import threading

import pytest

from scratch import Interrupted, interruptible

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS, ids=str)
def test_a_signal_is_noted_and_its_handler_put_back(number):
    before = signal.getsignal(number)
    with interruptible() as stop:
        assert stop.number == 0
        os.kill(os.getpid(), number)
        assert stop.number == number
        os.kill(os.getpid(), signal.SIGTERM)  # the first one counts, and the next ones are no kill
        assert stop.number == number
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_is_python_s_own():
    for first in (signal.SIGINT, signal.SIGTERM):
        with interruptible() as stop:
            os.kill(os.getpid(), first)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert stop.number == first


@pytest.mark.parametrize("number", SIGNALS, ids=str)
def test_what_the_process_ignores_stays_ignored(number):
    """As under nohup, and as in jobs that a shell runs in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with interruptible() as stop:
            os.kill(os.getpid(), number)
            assert signal.getsignal(number) == signal.SIG_IGN
        assert stop.number == 0
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_outside_the_main_thread_nothing_changes():
    before, found = [signal.getsignal(number) for number in SIGNALS], []

    def look():
        with interruptible() as stop:
            found.extend([stop.number, *(signal.getsignal(number) for number in SIGNALS)])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [0, *before]


@pytest.mark.parametrize(("number", "status"), list(zip(SIGNALS, [130, 143, 129], strict=True)))
def test_the_exit_status_says_which_signal_it_was(number, status):
    stop = Interrupted(number, "Go on with this.")
    assert (stop.number, stop.status, str(stop)) == (int(number), status, "Go on with this.")
    assert type(stop.number) is int
    told = pickle.loads(pickle.dumps(stop))  # as one process tells another
    assert (told.number, str(told)) == (stop.number, str(stop))
    assert str(Interrupted(number)) == ""
