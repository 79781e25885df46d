# %% [markdown]
# # A causal attention block, backward by hand
#
# Layer normalisation, one head of attention that looks back only, and the way around both.

# %%
import torch

# %% parameters
seed = 1
T = 5  # positions
D = 7  # width of a position
H = 3  # width of the head
eps = 1e-3

# %% draw
g = torch.Generator().manual_seed(seed)
x = torch.randn(T, D, generator=g)
target = torch.randn(T, D, generator=g)
gain, bias = 1 + 0.1 * torch.randn(D, generator=g), 0.1 * torch.randn(D, generator=g)
Wq, Wk, Wv = (torch.randn(D, H, generator=g) for _ in range(3))
Wo, bo = torch.randn(H, D, generator=g), 0.1 * torch.randn(D, generator=g)
past = torch.ones(T, T).tril() == 1

# %% forward
mean = x.mean(1, keepdim=True)
centred = x - mean
var = (centred**2).mean(1, keepdim=True)
inv = (var + eps) ** -0.5
normed = centred * inv
scaled = normed * gain + bias
q = scaled @ Wq
k = scaled @ Wk
v = scaled @ Wv
scores = q @ k.T / H**0.5
masked = scores.masked_fill(~past, -torch.inf)
weights = masked.softmax(1)
mixed = weights @ v
out = mixed @ Wo + bo
y = x + out
err = y - target
sq = err**2
loss = sq.mean()

# %% solution
dsq = torch.ones_like(sq) / sq.numel()
derr = 2 * err * dsq
dy = derr.clone()
dout = dy.clone()
dbo = dout.sum(0)
dWo = mixed.T @ dout
dmixed = dout @ Wo.T
dweights = dmixed @ v.T
dmasked = weights * (dweights - (weights * dweights).sum(1, keepdim=True))
dscores = torch.where(past, dmasked, 0)
dq = dscores @ k / H**0.5
dk = dscores.T @ q / H**0.5
dv = weights.T @ dmixed
dWq = scaled.T @ dq
dWk = scaled.T @ dk
dWv = scaled.T @ dv
dscaled = dq @ Wq.T + dk @ Wk.T + dv @ Wv.T
dgain = (normed * dscaled).sum(0)
dbias = dscaled.sum(0)
dnormed = gain * dscaled
dinv = (centred * dnormed).sum(1, keepdim=True)
dvar = -0.5 * (var + eps) ** -1.5 * dinv
dcentred = inv * dnormed + 2 / D * centred * dvar
dmean = -dcentred.sum(1, keepdim=True)
dx = dy + dcentred + dmean.expand_as(x) / D
