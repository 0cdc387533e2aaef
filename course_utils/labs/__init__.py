"""Lessons 7 to 9: widgets around `live.LiveTraining`. Turn a knob and watch the network answer.

    lab = LearningRateLab()
    lab                                          # in the last line of a cell: the widgets
    lab.run(steps=60, learning_rate=1e-3)        # the same without widgets, with the same numbers
    lab.figure()

A run has a thread of its own, so the kernel stays free for other cells. The chart is one picture, drawn anew in that
thread two or three times a second. The network of a lab is moved to the accelerator, where there is one.
"""

from course_utils.labs.learning_rate import LearningRateLab
from course_utils.labs.regularization import RegularizationLab
from course_utils.labs.transfer import TransferLab

__all__ = ["LearningRateLab", "RegularizationLab", "TransferLab"]
