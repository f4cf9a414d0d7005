// A small seeded generator, so that a run can be repeated.
export function random(seed) {
  let a = seed >>> 0
  const next = () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const int = (n) => Math.floor(next() * n)
  return {
    int,
    chance: (p) => next() < p,
    pick: (list) => list[int(list.length)],
    some: (list, p) => list.filter(() => next() < p),
  }
}

// Flags: --name value
export function options(defaults) {
  const out = { ...defaults }
  for (let i = 2; i < process.argv.length; i += 2) out[process.argv[i].replace(/^--/, '')] = process.argv[i + 1]
  return out
}
