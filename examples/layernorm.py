# %% [markdown]
# # Layer normalisation as a function
#
# What a library asks of you: from the gradient of the output and a cache, those of all inputs.

# %%
import torch

# %% parameters
seed = 1
T = 5
D = 7
eps = 1e-5

# %% draw
g = torch.Generator().manual_seed(seed)
x = torch.randn(T, D, generator=g)
gain, bias = 1 + 0.1 * torch.randn(D, generator=g), torch.randn(D, generator=g)
dout = torch.randn(T, D, generator=g)

# %% forward
mean = x.mean(1, keepdim=True)
centred = x - mean
var = (centred**2).mean(1, keepdim=True)
inv = (var + eps) ** -0.5
normed = centred * inv
out = normed * gain + bias
loss = (out * dout).sum()

# %% cache
cache = normed.detach(), inv.detach(), gain.detach()


# %% solution
def layernorm_backward(dout, cache):
    normed, inv, gain = cache
    dbias = dout.sum(0)
    dgain = (normed * dout).sum(0)
    dnormed = dout * gain
    mean = dnormed.mean(1, keepdim=True)
    dx = inv * (dnormed - mean - normed * (dnormed * normed).mean(1, keepdim=True))
    return dx, dgain, dbias


dx, dgain, dbias = layernorm_backward(dout, cache)
