# %% [markdown]
# # A recurrent network, backward through time
#
# The same weights at every step: what reaches them from each step is added up.

# %%
import torch

# %% parameters
seed = 1
T = 5  # steps
B = 3  # sequences
D = 2  # inputs
H = 7  # state
K = 11  # outputs

# %% draw
g = torch.Generator().manual_seed(seed)
x = torch.randn(T, B, D, generator=g)
target = torch.randn(T, B, K, generator=g)
h0 = torch.randn(B, H, generator=g)
Wx, Wh = torch.randn(D, H, generator=g), 0.5 * torch.randn(H, H, generator=g)
b = torch.randn(H, generator=g)
Wy = torch.randn(H, K, generator=g)

# %% forward
hs = [h0]
pres = []
for t in range(T):
    pres.append(x[t] @ Wx + hs[t] @ Wh + b)
    hs.append(torch.tanh(pres[t]))
states = torch.stack(hs[1:])
y = states @ Wy
loss = ((y - target) ** 2).sum()

# %% solution
dy = 2 * (y - target)
dWy = torch.einsum("tbh,tbk->hk", states, dy)
dstates = dy @ Wy.T
dpres = [None] * T
dhs = [None] * (T + 1)
for t in reversed(range(T)):
    dhs[t + 1] = dstates[t].clone()
    if t + 1 < T:
        dhs[t + 1] += dpres[t + 1] @ Wh.T
    dpres[t] = (1 - hs[t + 1] ** 2) * dhs[t + 1]
dhs[0] = dpres[0] @ Wh.T
dh0 = dhs[0].clone()
db = sum(dpres).sum(0)
dWh = sum(hs[t].T @ dpres[t] for t in range(T))
dWx = sum(x[t].T @ dpres[t] for t in range(T))
