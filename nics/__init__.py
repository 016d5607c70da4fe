"""The doors: every kind of NIC. What each file is, README.md says; the native part is in `nics/rust`."""
