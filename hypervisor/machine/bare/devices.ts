// Which devices a PC has, and where: each is made here and wired to the board's buses, lines and time.

import { Board, type BoardOptions } from './board.ts';

/** A board with everything on it, at RESET. */
export function createBoard(options: BoardOptions): Board {
  const board = new Board(options);
  board.reset();
  return board;
}
