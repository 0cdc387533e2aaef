"""How the embedded GPT was made: pre-train a small GPT-2 on plain text, then let it learn from a teacher.

    python -m course_utils.pretrain --corpus FOLDER --out FOLDER          the first stage: predict the next token
    python -m course_utils.pretrain.distil texts|teach|learn ...          the second: a sentence encoder's vectors

text, tokens     documents -> token ids on the disk -> batches
model, muon      the architecture, its optimizers, bits per byte, the saved folder
loop             the first stage
sentences        documents -> short texts
teacher          short texts -> a teacher's vectors
shards           both of them on the disk, and batches of them
student, distil  the second stage
settings         every choice of either stage
"""

from course_utils.pretrain.loop import pretrain
from course_utils.pretrain.model import bits_per_byte
from course_utils.pretrain.settings import PretrainSettings
from course_utils.pretrain.text import encode

__all__ = ["PretrainSettings", "bits_per_byte", "encode", "pretrain"]
