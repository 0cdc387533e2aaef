"""The helper package of the course: what the lessons build by hand, ready to import.

models      load a GPT, give it a classification head, freeze it, count it, adapt it with LoRA
data        read, clean, split and tokenize labelled texts
pipeline    batches, optimizer, learning-rate schedule
training    the fine-tuning loop
evaluation  metrics with intervals, baselines, predictions
plots       every figure of the lessons, each with a summary in words
checks      the checks under the exercises
pretrain    how the embedded GPT was made
live        a fine-tuning run that can be steered while it goes on
experiments what the lessons claim, measured over several seeds
labs        the widgets of lessons 7 to 9
"""

import os

# Under pytest (nbval's kernels inherit the variable) and wherever TQDM_DISABLE is set, no progress bars: they would
# make the stored outputs of a lesson differ from run to run.
QUIET = "PYTEST_VERSION" in os.environ or "TQDM_DISABLE" in os.environ
