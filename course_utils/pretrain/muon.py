"""Muon, the optimizer for the matrices inside a network (Jordan et al. 2024, kellerjordan.github.io/posts/muon)."""

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the iteration: the steepest start that still stays bounded


def orthogonalize(matrix: torch.Tensor, steps: int = 5, eps: float = 1e-7) -> torch.Tensor:
    """Replace a matrix's singular values by values near 1, by Newton-Schulz iteration; returns a new matrix."""
    a, b, c = COEFFICIENTS
    wide = matrix.size(0) <= matrix.size(1)
    matrix = matrix if wide else matrix.T
    matrix = matrix / matrix.norm().clamp(min=eps)  # no singular value above 1
    for _ in range(steps):
        square = matrix @ matrix.T
        matrix = a * matrix + (b * square + c * square @ square) @ matrix
    return matrix if wide else matrix.T


class Muon(torch.optim.Optimizer):
    """Take steps whose singular values are all near 1: every direction that the gradient knows gets its turn.

    The updates have the size of AdamW's, so both take one learning rate (Liu et al. 2025, arXiv:2502.16982). It is
    `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, but computed in the gradient's own precision: PyTorch
    computes in bfloat16, which most CPUs can only emulate, and there that made a whole training step six times slower.

    Raises ValueError for parameters that are not matrices.
    """

    def __init__(self, params, lr: float, weight_decay: float = 0.1, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        if any(p.ndim != 2 for group in self.param_groups for p in group["params"]):
            raise ValueError("Muon takes matrices only: give biases, norms and the like to AdamW.")

    @torch.no_grad()
    def step(self, closure=None):
        """Change every parameter that has a gradient; returns the closure's loss, or None."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.change(parameter, group)
        return loss

    def change(self, parameter: torch.Tensor, group: dict) -> None:
        """Take one parameter's step: decay, then the orthogonalized momentum, looked ahead as Nesterov does."""
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter.grad)
        state["momentum_buffer"].lerp_(parameter.grad, 1 - group["momentum"])
        update = orthogonalize(parameter.grad.lerp(state["momentum_buffer"], group["momentum"]))
        size = 0.2 * max(parameter.shape) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update, alpha=-group["lr"] * size)
