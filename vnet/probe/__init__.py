"""`vnet test`: a fabric of the file is brought up, and every pair of guests is probed.

In reading order:

* `stand_in.py`  the topology that is brought up for it: what nobody has plugged in is stood in for
* `leased.py`    addresses for guests whose own come by DHCP
* `build.py`     frames, byte by byte
* `honest.py`, `hostile.py`  the frames that each port sends, and where the proof says that they arrive
* `frames.py`    sends them all, and compares
* `talk.py`      every guest talks to every other: echo, TCP, UDP; `voices.py` is who speaks
* `course.py`    one test from beginning to end
* `report.py`    what came out: for a person, as JSON, as JUnit XML
"""
