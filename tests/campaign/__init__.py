"""A standing campaign: damaged and hostile inputs of every kind, run through the commands, and what each must end in.

`python -m campaign tables --count 20000` (in the folder `tests`) runs one kind for long; `pytest -m campaign` runs all
of them for a while, and the default suite a few of each. What is damaged, and how, follows from `--seed` alone.

damage.py       bytes and texts, damaged
odd_tables.py   whole tables with odd columns, numbers, ids and metadata
own_tables.py   tables that affcli wrote, damaged
oracle.py       what rows a damaged table has by other readers
bombs.py        small files that would take much
kinds.py        what each kind damages, and which commands read it
worker.py       a process that runs commands one after the other, and measures each
judge.py        what a run must end in
book.py         what was tried, and what it ended in
"""
