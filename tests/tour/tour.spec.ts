import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { tour } from './tour.ts';

describe('the reading tour', () => {
  it('is what the sources say (npm run tour writes it)', () => {
    expect(readFileSync(new URL('../../TOUR.md', import.meta.url), 'utf8')).toBe(tour());
  });
  it('follows a hypercall over at least eight stops', () => {
    expect(tour().match(/^\d+\. /gm)?.length).toBeGreaterThanOrEqual(8);
  });
});
