"""The command line: arguments, rendering, and the one edge where exceptions become exit codes.

Start-up is part of the product: nothing here imports at module level what the command that runs
does not need. `main` and `catalog` are all that ``mdeploy --help`` loads.
"""
