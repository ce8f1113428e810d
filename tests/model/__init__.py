"""An independent executable model of the rules, written from the protocol text alone.

It shares no code with `abci_app.protocol`: plain records, plain lists, full scans, no encoding. The state machine in
`test_machine.py` drives it side by side with the real core.
"""
