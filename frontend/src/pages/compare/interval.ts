/** Exact (Clopper-Pearson) confidence intervals of a share. */

export interface Interval {
  low: number;
  high: number;
}

/**
 * The Clopper-Pearson interval of `successes` in `trials` at `level`: it covers the true share at least that often,
 * however few trials there are. Its ends are quantiles of beta distributions.
 */
export function clopperPearson(successes: number, trials: number, level = 0.95): Interval {
  if (trials === 0) return { low: 0, high: 1 };
  const tail = (1 - level) / 2;
  return {
    low: successes === 0 ? 0 : betaQuantile(tail, successes, trials - successes + 1),
    high: successes === trials ? 1 : betaQuantile(1 - tail, successes + 1, trials - successes),
  };
}

/** Where the beta distribution's function reaches `share`: by halving, as it never falls. */
function betaQuantile(share: number, a: number, b: number): number {
  let [low, high] = [0, 1];
  for (let step = 0; step < 60; step += 1) {
    const middle = (low + high) / 2;
    if (betaFunction(middle, a, b) < share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22). */
export function betaFunction(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  // The fraction converges fast on this side of the mean; the other side is its mirror image.
  if (x > (a + 1) / (a + b + 2)) return 1 - betaFunction(1 - x, b, a);
  const front = Math.exp(a * Math.log(x) + b * Math.log1p(-x) - logBeta(a, b)) / a;
  return front / fraction(x, a, b);
}

/** 1 + d1/(1 + d2/(1 + …)) from its end backwards; 400 terms are plenty below 10,000 trials. */
function fraction(x: number, a: number, b: number): number {
  let value = 1;
  for (let term = 400; term >= 1; term -= 1) {
    const m = Math.floor(term / 2);
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    value = 1 + (term % 2 === 0 ? even : odd) / value;
  }
  return value;
}

function logBeta(a: number, b: number): number {
  return logGamma(a) + logGamma(b) - logGamma(a + b);
}

/** Stirling's series after shifting the argument up, where it is exact to double precision. */
function logGamma(z: number): number {
  let [shifted, product] = [z, 1];
  while (shifted < 15) {
    product *= shifted;
    shifted += 1;
  }
  const series =
    1 / (12 * shifted) - 1 / (360 * shifted ** 3) + 1 / (1260 * shifted ** 5) - 1 / (1680 * shifted ** 7);
  return (shifted - 0.5) * Math.log(shifted) - shifted + Math.log(2 * Math.PI) / 2 + series - Math.log(product);
}
