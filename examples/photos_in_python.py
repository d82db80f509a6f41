"""A folder of photos in; a judged model, its predictions and a report out.

Run: python examples/photos_in_python.py photos/ new.jpg
"""

import sys

import retarget as rt

task = rt.open_task(sys.argv[1])
run = rt.fit(task)
print(run)
print(run.predict(sys.argv[2:]))
run.report("out/")
