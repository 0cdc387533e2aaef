"""The checks under the exercises, one file a lesson.

Each says "not yet" to a blank stub, gives a hint about a known mistake, or says why an answer is right.
"""

from course_utils.checks.lesson_01 import check_bits_per_byte, check_count_gpt2, check_keep_top_p
from course_utils.checks.lesson_02 import check_last_real_positions, check_lora_output, check_train_biases
from course_utils.checks.lesson_03 import check_conflicting_texts, check_count_twins
from course_utils.checks.lesson_04 import check_accumulate, check_cosine_factor, check_training_megabytes
from course_utils.checks.lesson_05 import check_cross_entropy, check_stop_early, check_train_on
from course_utils.checks.lesson_06 import check_accuracy_on_surest, check_precision_recall, check_tickets_needed
from course_utils.checks.lesson_07 import check_diverged_since, check_sweep
from course_utils.checks.lesson_08 import (
    check_cost_of_patience,
    check_decay_weights,
    check_drop_units,
    check_smooth_targets,
)
from course_utils.checks.lesson_09 import check_labels_needed, check_layer_rates
from course_utils.checks.lesson_10 import check_centre, check_rotate, check_soft_loss
from course_utils.checks.lesson_11 import check_choose_model, check_route, check_share_shift

__all__ = [
    "check_accumulate", "check_accuracy_on_surest", "check_bits_per_byte", "check_centre", "check_choose_model",
    "check_conflicting_texts",
    "check_cosine_factor", "check_cost_of_patience", "check_count_gpt2", "check_count_twins", "check_cross_entropy",
    "check_decay_weights", "check_diverged_since", "check_drop_units", "check_keep_top_p", "check_labels_needed",
    "check_last_real_positions", "check_layer_rates", "check_lora_output", "check_precision_recall", "check_rotate",
    "check_route", "check_share_shift", "check_smooth_targets", "check_soft_loss",
    "check_stop_early", "check_sweep", "check_tickets_needed", "check_train_biases", "check_train_on",
    "check_training_megabytes",
]  # fmt: skip
