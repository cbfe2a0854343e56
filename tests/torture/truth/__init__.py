"""What is so: `facts` are state file, API and tgtd as sets; `linearizability` and `sequential` say
whether a history can be explained.
"""
