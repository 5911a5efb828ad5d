#include "cell.h"

namespace ostinato::OSTINATO_ISA {

const CellFunctions lstm = functions_of<Lstm>();

}  // namespace ostinato::OSTINATO_ISA
