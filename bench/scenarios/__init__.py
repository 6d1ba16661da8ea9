"""What is done to the stacks: each file is one scenario, the object `SCENARIO` in it.

The part that runs in the load generator's processes stands in the same file: a function that takes a Client first.
"""
