"""The helper package of the course: what the lessons build by hand, ready to import.

models        load a GPT as a language model or a classifier, save a fine-tuned one
smollm2       the bigger GPT, unpacked from its pip package
architecture  where a model keeps its parts; task layer, freezing, LoRA, dropout, counts
heads         what the head reads of a text: the last token, the mean of all, the mean by a block
data          read, clean and tokenize labelled texts
duplicates    near duplicates, and test texts that have a twin in training
grams         texts as sets of five-character sequences
minhash       near duplicates among very many texts
splits        training, validation and test rows without leaks
pipeline      batches, optimizer, learning-rate schedule
training      the training loop; fine-tune a classifier, adapt a language model
history       the settings of a run, and what happened in it
checkpoints   go on after a crash; never leave half a file
devices       where a model computes, with how many processes, and when in bf16
sharing       how processes share a model: their rows, or its weights as well (FSDP)
evaluation    metrics with intervals, baselines, predictions
plots         every figure of the lessons, each with a summary in words
checks        the checks under the exercises, one module a lesson
live          the training loop in a thread, with a hand on it
diagnosis     read a run from its curves
labs          the widgets: small ones first, from lesson 7 a network that answers while it trains
frozen        read the states of a GPT that stays as it is, or learn above them
prompting     let a language model sort texts without training it
contestants   who is compared in the studies, and by what recipes
studies       what the lessons claim, measured over several seeds
provenance    with what model, data and recipes a file of results was measured
results       read what was measured: means, intervals, differences
tables        read labelled texts from CSV, JSON lines, Parquet, the hub
cli           the command line: finetune, predict, evaluate, doctor, prefetch
report        what a run found out, as a web page and a model card
experiments   the command line that measures
pretrain      how the embedded GPT was made: from text, then from a teacher
"""

import os

# Under pytest (nbval's kernels inherit the variable) and wherever TQDM_DISABLE is set, no progress bars: they would
# make the stored outputs of a lesson differ from run to run.
QUIET = "PYTEST_VERSION" in os.environ or "TQDM_DISABLE" in os.environ

JOINERS = "\u200c\u200d"  # no printable letters, but Persian words and many emoji need them
