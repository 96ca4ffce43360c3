"""Do the tests notice? Two programs that break the product on purpose and ask the tests.

`python -m mutation tokens` changes every small part of a file, one at a time: the score says how many of the changes a test notices.
`python -m mutation.sabotage` makes the changes of `sabotages.py`, each of which would let something out.
"""
