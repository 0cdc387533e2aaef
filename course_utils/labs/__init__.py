"""Widgets to play with: small ones in lessons 1 to 6, and from lesson 7 a network that answers while it trains.

    lab = LearningRateLab()
    lab                                          # in the last line of a cell: the widgets
    lab.run(steps=60, learning_rate=1e-3)        # the same without widgets, with the same numbers
    lab.figure()

A run has a thread of its own, so the kernel stays free for other cells. The chart is one picture, drawn anew in that
thread two or three times a second. The network of a lab is moved to the accelerator, where there is one.
"""

from course_utils.labs.first_steps import FreezeBox, NextTokenBox, TokenizerBox
from course_utils.labs.learning_rate import LearningRateLab
from course_utils.labs.message import message_lab
from course_utils.labs.pipeline_play import BatchBox, ScheduleBox, ThresholdBox
from course_utils.labs.regularization import RegularizationLab
from course_utils.labs.transfer import TransferLab

__all__ = [
    "BatchBox", "FreezeBox", "LearningRateLab", "NextTokenBox", "RegularizationLab", "ScheduleBox", "ThresholdBox",
    "TokenizerBox", "TransferLab", "message_lab",
]  # fmt: skip
