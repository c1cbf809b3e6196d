"""The tests: real HTTP over loopback, in virtual time."""
