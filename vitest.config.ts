import { defineConfig } from 'vitest/config';

// Two suites: `quick` is what `npm test` runs (units and short cross-package tests, minutes on two cores);
// `long` holds the stock kernels and the long conformance and fuzz runs (`*.long.spec.ts`), which `npm run test:all` adds.
export default defineConfig({
  test: {
    testTimeout: 120_000,
    hookTimeout: 300_000,
    projects: [
      { extends: true, test: { name: 'quick', include: ['**/*.spec.ts'], exclude: ['**/node_modules/**', '**/*.long.spec.ts'] } },
      {
        extends: true,
        test: {
          name: 'long',
          include: ['**/*.long.spec.ts'],
          exclude: ['**/node_modules/**'],
          testTimeout: 1_200_000,
          poolOptions: { forks: { singleFork: true } },
        },
      },
    ],
  },
});
