# %% [markdown]
# # An affine layer in NumPy
#
# What a layer's backward pass asks of you: from the gradient of its output and a cache, those of its inputs.

# %%
import numpy as np


def affine_forward(x, w, b):
    """The layer's output, one row for each example of `x`, and what its backward pass needs."""
    out = x.reshape(len(x), -1) @ w + b
    cache = x, w
    return out, cache


# %% parameters
seed = 1
N = 3  # examples
D = 5  # an example is D by 2
M = 7  # outputs

# %% draw
rng = np.random.default_rng(seed)
x = rng.standard_normal((N, D, 2))
w = rng.standard_normal((2 * D, M))
b = rng.standard_normal(M)
dout = rng.standard_normal((N, M))

# %% forward
out, cache = affine_forward(x, w, b)
loss = (out * dout).sum()


# %% solution
def affine_backward(dout, cache):
    x, w = cache
    dx = (dout @ w.T).reshape(x.shape)
    dw = x.reshape(len(x), -1).T @ dout
    db = dout.sum(0)
    return dx, dw, db


dx, dw, db = affine_backward(dout, cache)
