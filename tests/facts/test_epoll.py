"""epoll (nics/rust/src/poller.rs, vnet/drive.py): epoll(7)."""

from __future__ import annotations

import os
import select


def test_an_epoll_descriptor_is_readable_itself_while_something_in_it_is() -> None:
    """So trio can wait for the whole engine by one descriptor."""
    reading, writing = os.pipe()
    with select.epoll() as inner, select.epoll() as outer:
        inner.register(reading, select.EPOLLIN)
        outer.register(inner.fileno(), select.EPOLLIN)
        assert not outer.poll(0)
        os.write(writing, b"..")
        assert outer.poll(0)
        # Level-triggered: also after somebody looked, and while something is left.
        assert inner.poll(0)
        os.read(reading, 1)
        assert outer.poll(0)
        os.read(reading, 1)
        assert not outer.poll(0)
    os.close(reading)
    os.close(writing)


def test_a_descriptor_leaves_when_its_last_copy_is_closed() -> None:
    """Not when ours is: a door must be unregistered before its descriptor is closed."""
    reading, writing = os.pipe()
    copy = os.dup(reading)
    with select.epoll() as epoll:
        epoll.register(reading, select.EPOLLIN)
        os.write(writing, b".")
        os.close(reading)
        assert epoll.poll(0)
        os.close(copy)
        assert not epoll.poll(0)
    os.close(writing)


def test_a_watch_for_writing_can_be_taken_back() -> None:
    reading, writing = os.pipe()
    with select.epoll() as epoll:
        epoll.register(writing, select.EPOLLOUT)
        assert epoll.poll(0)
        epoll.modify(writing, 0)
        assert not epoll.poll(0)
        # Errors and hang-ups are told whether asked for or not.
        os.close(reading)
        assert epoll.poll(0) == [(writing, select.EPOLLERR)]
    os.close(writing)
