// A node that does not belong to the group answers questions, too; what it says comes after that.

/** Lines that come first when the node that was asked is outside of the group. @param why empty when it belongs to it. */
export function outsideLines(why: string): string[] {
  return why === '' ? [] : [`The node that was asked is outside: ${why}. What follows may be old; ask a member.`, ''];
}
