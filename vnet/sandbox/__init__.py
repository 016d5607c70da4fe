"""What a fabric's process gives up once its doors are open, and what it keeps for changes.

* `needs.py`         what a topology's doors need of the system; pure
* `confinement.py`   giving up the rest, and saying no to changes that would need it
* `offers.py`        what this host's kernel can enforce, for `vnet doctor`

Modes, by `engine: {sandbox: ...}` or `vnet up --sandbox ...`:

* `default`: keeps what the kinds of guests and NICs in the file need, and those in `engine: {keep: ...}`,
  so that more of them can come while the fabric runs. What the kernel can't enforce is told and done
  without.
* `strict`: keeps no capability and no helper for changes; what the kernel can't enforce is an error.
* `off`: nothing is given up.

The system calls are made in `nics/rust/src/confine/`.
"""
