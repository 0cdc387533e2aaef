"""evaluate: compare a saved classifier with a labelled file."""

from argparse import Namespace

from course_utils.cli.measure import class_scores, main_scores
from course_utils.cli.predict import label_texts, longest_text, training_facts
from course_utils.cli.prepare import check_test, read_clean, short
from course_utils.cli.show import say, say_table, show_number, show_score
from course_utils.devices import pick_device
from course_utils.evaluation import Evaluation
from course_utils.models import load_fine_tuned


def run(options: Namespace) -> int:
    """Evaluate and print; return the exit status. Raises OSError or ValueError, in one sentence."""
    import numpy as np

    model, tokenizer = load_fine_tuned(options.folder)
    training, labels = training_facts(options.folder), list(model.config.id2label.values())
    for name in ("text", "label"):
        chosen = getattr(options, f"{name}_column") or training.get(f"{name}_column", name)
        setattr(options, f"{name}_column", chosen)
    table, notes, report = read_clean(options, options.file, labels)
    check_test(table, options.file)
    limit = longest_text(training, tokenizer, model)
    texts = table["text"].tolist()
    probabilities = np.array(label_texts(model.to(pick_device()), tokenizer, texts, limit))
    true = table["label"].map(labels.index).to_numpy()
    result = Evaluation(labels, true, probabilities.argmax(axis=1), probabilities)
    if short(options.file) == training.get("files", {}).get("train"):
        notes.append(
            f"{short(options.file)!r} is named like the file it was trained on: scores on rows that it has seen say "
            "nothing about new texts."
        )
    say(*notes, f"{report.before:,} rows read, {report.after:,} left after cleaning.")
    scores = main_scores(result)
    rows = [
        [row["label"], f"{row['precision']:.3f}", show_number(row["recall"]), show_score(row["f1"]), row["support"]]
        for row in class_scores(result)
    ]
    rows.append(["macro-F1", "", "", show_score(scores["macro_f1"]), len(texts)])
    rows.append(["accuracy", "", "", show_score(scores["accuracy"]), len(texts)])
    say_table("with 95 % intervals", ["label", "precision", "recall", "F1", "rows"], rows)
    return 0
